package sandbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	hubSetLine = `{"req":"hub.set","product":"product:com.example:washers","mode":"continuous","sync":true,` +
		`"inbound":60,"outbound":15}`
	peekLine = `{"req":"note.get","file":"payment.qi"}`
	popLine  = `{"req":"note.get","file":"payment.qi","delete":true}`
	tellLine = `{"req":"note.add","file":"payment_ack.qo","sync":true,"body":{"credit_id":"cr_1","state":"started"}}`
)

// cardRig is a Notecard with a project of its own, in fake time.
type cardRig struct {
	*rig
	card *Notecard
}

func newCardRig(t *testing.T) *cardRig {
	t.Helper()
	r := newRig(t, MachineConfig{})
	return &cardRig{rig: r, card: NewNotecard(r.hub, machine1)}
}

// ask sends a line and compares the reply, without its line end, with the wanted one. If want ends
// in ..., the reply begins so.
func (r *cardRig) ask(line, want string) {
	r.t.Helper()
	got := strings.TrimSuffix(string(r.card.Exchange([]byte(line+"\n"))), "\r\n")
	if begin, more := strings.CutSuffix(want, "..."); got != want && !(more && strings.HasPrefix(got, begin)) {
		r.t.Errorf("%s: got %s; want %s", line, got, want)
	}
}

// inCard runs a test with a Notecard that is set up.
func inCard(t *testing.T, test func(*cardRig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newCardRig(t)
		r.ask(hubSetLine, `{}`)
		test(r)
	})
}

const noNote = `{"err":"no notes available in queue {note-noexist}"}`

func TestNotecardQueue(t *testing.T) {
	inCard(t, func(r *cardRig) {
		r.ask(peekLine, noNote)
		r.post("completed", "cr_1", "")
		r.post("completed", "cr_2", "")
		first := `{"body":{"credit_id":"cr_1"...`
		r.ask(peekLine, first)
		r.ask(peekLine, first)
		if got := r.hub.Pending(machine1, creditFile); len(got) != 0 {
			t.Errorf("got %d notes pending at Notehub; want them fetched", len(got))
		}
		r.card.Restart()
		r.ask(popLine, first)
		r.ask(popLine, `{"body":{"credit_id":"cr_2"...`)
		r.ask(popLine, noNote)
		r.ask(`{"req":"note.get","file":"payment.qi","note":"1"}`, `{"err":"a note of a queue has no id...`)
		r.ask(`{"req":"note.get","file":"other.qi"}`, noNote)
		r.ask(`{"req":"note.get","file":"data.db"}`, `{"err":"not an inbound queue: \"data.db\" {notefile-noexist}"}`)
	})
}

func TestNotecardConnectsAsHubSetOrders(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set   string
		after time.Duration // until the note is there; 0: never
	}{
		"continuous with sync":      {hubSetLine, time.Second},
		"continuous without sync":   {strings.Replace(hubSetLine, `"sync":true,`, "", 1), time.Hour},
		"periodic":                  {strings.Replace(hubSetLine, "continuous", "periodic", 1), time.Hour},
		"without inbound":           {strings.Replace(hubSetLine, `"inbound":60,`, "", 1), 0},
		"without outbound":          {strings.Replace(hubSetLine, `,"outbound":15`, "", 1), 0},
		"minimum":                   {strings.Replace(hubSetLine, "continuous", "minimum", 1), 0},
		"off":                       {strings.Replace(hubSetLine, "continuous", "off", 1), 0},
		"without a product":         {strings.Replace(hubSetLine, "product:com.example:washers", "", 1), 0},
		"without a request hub.set": {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newCardRig(t)
				r.ask(row.set, map[bool]string{true: "", false: "{}"}[row.set == ""])
				r.card.Sync()
				r.post("completed", "cr_1", "")
				time.Sleep(cmp.Or(row.after, 1000*time.Hour) - time.Second)
				if row.after > time.Second {
					r.ask(peekLine, noNote)
				}
				time.Sleep(time.Second)
				r.ask(peekLine, map[bool]string{true: `{"body":...`, false: noNote}[row.after > 0])
			})
		})
	}
}

func TestNotecardSends(t *testing.T) {
	inCard(t, func(r *cardRig) {
		r.card.SetOnline(false)
		r.ask(tellLine, `{"total":1}`)
		r.ask(tellLine, `{"total":2}`)
		r.ask(`{"req":"hub.status"}`, `{"status":"disconnected {disconnected}"}`)
		r.card.Restart()
		if got := r.hub.Answers(machine1); len(got) != 0 || r.card.Unsent() != 2 {
			t.Errorf("got %v, %d unsent while offline; want 2 unsent", got, r.card.Unsent())
		}
		r.card.SetOnline(true)
		r.card.Sync()
		if got := r.hub.Answers(machine1); len(got) != 2 || r.card.Unsent() != 0 {
			t.Errorf("got %v, %d unsent; want both sent", got, r.card.Unsent())
		}
		r.ask(`{"req":"hub.status"}`, `{"connected":true,"status":"connected (session open) {connected}"}`)
		r.ask(strings.Replace(tellLine, `"sync":true,`, "", 1), `{"total":1}`)
		time.Sleep(14 * time.Minute)
		r.card.Sync()
		if got := len(r.hub.Answers(machine1)); got != 2 {
			t.Errorf("got %d answers before the outbound sync; want 2", got)
		}
		time.Sleep(2 * time.Minute)
		r.card.Sync()
		if got := len(r.hub.Answers(machine1)); got != 3 {
			t.Errorf("got %d answers after the outbound sync; want 3", got)
		}
		r.hub.SetDevice(machine1, func(d *Device) { d.Disabled = true })
		for i := range maxNotecardOut {
			r.ask(tellLine, fmt.Sprintf(`{"total":%d}`, i+1))
		}
		r.ask(tellLine, `{"err":"no room for more notes {storage-full}"}`)
		r.ask(`{"req":"note.add","file":"data.db","body":{}}`, `{"err":"not an outbound queue...`)
		r.ask(`{"req":"note.add","file":"payment_ack.qo"}`, `{"err":"a note needs a body or payload"}`)
	})
}

func TestNotecardTime(t *testing.T) {
	inCard(t, func(r *cardRig) {
		unknown := `{"zone":"UTC,Unknown"}`
		r.card.SetOnline(false)
		r.card.Restart()
		r.ask(`{"req":"card.time"}`, unknown)
		r.card.SetOnline(true)
		r.card.Sync()
		r.ask(`{"req":"card.time"}`, `{"area":"Boston, MA","country":"US","minutes":-300,"time":946684800...`)
		r.card.SetOnline(false)
		time.Sleep(time.Minute)
		r.ask(`{"req":"card.time"}`, `{"area":"Boston, MA","country":"US","minutes":-300,"time":946684860...`)
		r.card.SetFaults(NotecardFaults{NoTime: true})
		r.ask(`{"req":"card.time"}`, unknown)
	})
}

func TestNotecardATTN(t *testing.T) {
	inCard(t, func(r *cardRig) {
		pin := func(when string, want bool) {
			t.Helper()
			if got := r.card.ATTN(); got != want {
				t.Errorf("%s: ATTN is %t; want %t", when, got, want)
			}
		}
		pin("at power on", true)
		r.post("completed", "cr_1", "")
		r.card.Sync()
		r.ask(`{"req":"card.attn","mode":"arm,files","files":["payment.qi"]}`, `{}`)
		pin("armed, with a note that was there before", false)
		r.post("completed", "cr_2", "")
		r.card.Sync()
		pin("after a note", true)
		r.ask(`{"req":"card.attn"}`, `{"files":["payment.qi"],"set":true}`)
		r.ask(popLine, `{"body":...`)
		r.ask(popLine, `{"body":...`)
		pin("after the queue was read", true)
		r.ask(`{"req":"card.attn","mode":"arm"}`, `{}`)
		r.ask(`{"req":"card.attn","mode":"rearm"}`, `{}`)
		pin("armed again", false)
		r.card.Restart()
		pin("after its power failed", true)
		r.ask(`{"req":"card.attn","mode":"arm","seconds":20}`, `{}`)
		time.Sleep(29 * time.Second)
		pin("before its time", false)
		time.Sleep(time.Second)
		pin("after its time, rounded up to 15 s", true)
		r.ask(`{"req":"card.attn"}`, `{"files":["timeout"],"set":true}`)
		r.ask(`{"req":"card.attn","mode":"arm,files","files":["payment.qi"]}`, `{}`)
		r.ask(`{"req":"card.attn","mode":"disarm,-all"}`, `{"set":true}`)
		r.ask(`{"req":"card.attn","mode":"arm"}`, `{}`)
		r.post("completed", "cr_3", "")
		r.card.Sync()
		pin("without a file to watch", false)
		r.ask(`{"req":"card.attn","mode":"arm,files"}`, `{"err":"the mode files needs files"}`)
		r.ask(`{"req":"card.attn","mode":"dance"}`, `{"err":"unknown mode: \"dance\""}`)
	})
}

func TestNotecardEnvironmentAndVersion(t *testing.T) {
	inCard(t, func(r *cardRig) {
		r.hub.SetProjectVariables(map[string]string{"pulse_ms": "50", "gap_ms": "100"})
		r.hub.SetDevice(machine1, func(d *Device) { d.Variables = map[string]string{"pulse_ms": "30"} })
		r.ask(`{"req":"env.get","name":"pulse_ms"}`, `{"text":"30"}`)
		r.ask(`{"req":"env.get","name":"none"}`, `{"text":""}`)
		r.ask(`{"req":"env.get","names":["gap_ms"]}`, `{"body":{"gap_ms":"100"}}`)
		r.ask(`{"req":"env.get"}`, `{"body":{"gap_ms":"100","pulse_ms":"30"}}`)
		r.ask(`{"req":"card.version","id":7}`, `{"api":9,"board":"1.0","device":"`+machine1+`","id":7...`)
		r.ask(`{"cmd":"hub.set","mode":"off"}`, "")
		r.ask(`{"req":"hub.set","mode":"sometimes"}`, `{"err":"unknown mode: \"sometimes\""}`)
		r.ask(`{"req":"card.dance"}`, `{"err":"unknown request: \"card.dance\" {not-supported}{io}"}`)
		r.ask(`{"req":`, `{"err":"cannot interpret JSON...`)
		r.ask(`{"req":7}`, `{"err":"cannot interpret JSON...`)
		r.ask("", "")
	})
}

func TestNotecardSums(t *testing.T) {
	inCard(t, func(r *cardRig) {
		r.ask(summed(peekLine, "00AF"), summed(noNote, "00AF"))
		r.ask(summed(hubSetLine, "FFFF"), `{ "crc":"FFFF:A3A6BF43"}`)
		r.post("completed", "cr_1", "")
		damaged := strings.Replace(summed(popLine, "0001"), "true", "trUe", 1)
		r.ask(damaged, `{"err":"request is damaged: wrong CRC {io}","crc":"0001...`)
		if got := len(r.card.Waiting(creditFile)); got != 0 {
			t.Errorf("got %d notes; want none fetched by a damaged request", got)
		}
		r.ask(summed(popLine, "0002"), `{"body":...`)
	})
}

// summed adds note-c's sum to a line.
func summed(line, sequence string) string {
	return fmt.Sprintf(`%s,"crc":"%s:%08X"}`, line[:len(line)-1], sequence, crc32.ChecksumIEEE([]byte(line)))
}

func TestNotecardFaults(t *testing.T) {
	inCard(t, func(r *cardRig) {
		r.post("completed", "cr_1", "")
		r.post("completed", "cr_2", "")
		r.card.SetFaults(NotecardFaults{LoseReplies: 1})
		r.ask(popLine, "")
		r.ask(peekLine, `{"body":{"credit_id":"cr_2"...`)
		r.card.SetFaults(NotecardFaults{GarbleReplies: 1})
		clear := string(r.card.Exchange([]byte(peekLine)))
		if again := string(r.card.Exchange([]byte(peekLine))); clear == again || len(clear) != len(again) {
			t.Errorf("got %q and %q; want the first garbled", clear, again)
		}
		r.card.SetFaults(NotecardFaults{Mute: true})
		r.ask(popLine, "")
		r.card.SetFaults(NotecardFaults{Full: true})
		r.ask(tellLine, `{"err":"no room for more notes {storage-full}"}`)
		r.card.SetFaults(NotecardFaults{Twice: true})
		r.ask(popLine, `{"body":{"credit_id":"cr_2"...`)
		r.post("completed", "cr_3", "")
		r.ask(popLine, `{"body":{"credit_id":"cr_3"...`)
		r.card.SetFaults(NotecardFaults{Overtaking: true})
		r.ask(peekLine, `{"body":{"credit_id":"cr_3"...`)
		r.post("completed", "cr_4", "")
		r.ask(popLine, `{"body":{"credit_id":"cr_4"...`)
		r.ask(popLine, `{"body":{"credit_id":"cr_3"...`)
		r.ask(popLine, noNote)
	})
}

func TestNotecardServe(t *testing.T) {
	t.Parallel()
	r := newCardRig(t)
	serve := func(input string) (output string, err error) {
		here, there := net.Pipe()
		read := make(chan string)
		go func() {
			all, _ := io.ReadAll(here) // a pipe that is closed ends it
			read <- string(all)
		}()
		err = r.card.Serve(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(input), there})
		there.Close()
		return <-read, err
	}
	output, err := serve("\n" + hubSetLine + "\r\n" + peekLine + "\n" + popLine)
	if want := "\r\n{}\r\n" + noNote + "\r\n"; err != nil || output != want {
		t.Errorf("got %q, %v; want %q", output, err, want)
	}
	if output, err = serve("POST / HTTP/1.1\r\n" + hubSetLine + "\n"); !errors.Is(err, errHTTP) || output != "" {
		t.Errorf("got %q, %v of a browser; want an error and no reply", output, err)
	}
	if output, err = serve(`{"req":"` + strings.Repeat("x", maxNotecardLine) + "\n"); err == nil || output != "" {
		t.Errorf("got %q, %v of a line that is too long; want an error", output, err)
	}
}

func FuzzNotecard(f *testing.F) {
	for _, line := range []string{hubSetLine, peekLine, summed(popLine, "0001"), tellLine, `{}`, `[`,
		`{"req":"card.attn","mode":"arm,files","files":["payment.qi"],"seconds":1}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		n := NewNotehub(NotehubConfig{})
		defer n.Close()
		n.AddDevice(Device{UID: machine1})
		reply := NewNotecard(n, machine1).Exchange(line)
		if text := strings.TrimSpace(string(reply)); text != "" && !json.Valid([]byte(text)) {
			t.Errorf("%q: got %q; want JSON", line, reply)
		}
	})
}
