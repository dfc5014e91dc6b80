package machine

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

// programs is the folder of the compiled firmware. TestMain makes and removes it.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "notepay-firmware-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(programs); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// firmware compiles the firmware as a program of this computer. secured compiles it for notes that are
// signed and encrypted.
var (
	firmware = sync.OnceValues(func() (string, error) { return build("host") })
	secured  = sync.OnceValues(func() (string, error) {
		return build("secured", "-DNOTEPAY_SIGN", "-DNOTEPAY_DECRYPT")
	})
)

// build compiles the firmware with these flags.
func build(name string, flags ...string) (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	at := func(path ...string) string {
		return filepath.Join(append([]string{strings.TrimSpace(string(root))}, path...)...)
	}
	program := filepath.Join(programs, name)
	src := at("firmware", "notepay", "src")
	flags = append(flags, "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1", "-I"+src,
		at("tests", "firmware", "host.c"), filepath.Join(src, "notepay.c"),
		filepath.Join(src, "notepay_sign.c"), "-o", program)
	if out, err := exec.Command("gcc", flags...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the firmware: %w\n%s", err, out)
	}
	return program, nil
}

// compiled returns the path of the compiled firmware. Without gcc the test is skipped, or fails if
// NOTEPAY_REQUIRE=1.
func compiled(t *testing.T) string { t.Helper(); return program(t, firmware) }

func program(t *testing.T, build func() (string, error)) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("NOTEPAY_REQUIRE") == "1" {
			t.Fatalf("NOTEPAY_REQUIRE=1 and there is no gcc: %v", err)
		}
		t.Skipf("there is no gcc: %v", err)
	}
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// board is a host with the real firmware, in the fake time of a test. Its Notecard, storage and
// machine are in the test, which can cut its power at each of its steps.
type board struct {
	*testing.T
	program string
	key     string // of a program that verifies signatures, in hex
	card    *sandbox.Notecard
	random  *rand.Rand
	done    sync.WaitGroup

	// lock holds a token while the program does nothing. A mutex would not let the fake time pass.
	lock     chan struct{}
	cmd      *exec.Cmd // nil: without power
	in       io.WriteCloser
	out      *bufio.Reader
	booted   time.Time
	storage  []byte
	cutOneIn int // steps; 0: the power never fails
	dark     time.Duration
	refusal  string
	loss     int // percent of the replies that are lost or garbled
	cuts     int

	ran     map[string]time.Duration // by credit
	starts  map[string]int           // by credit
	running string                   // the credit for which the output is on
	since   time.Time
}

func newBoard(t *testing.T, hub *sandbox.Notehub, device string, random *rand.Rand) *board {
	b := &board{
		T:       t,
		program: compiled(t),
		card:    sandbox.NewNotecard(hub, device),
		random:  random,
		lock:    make(chan struct{}, 1),
		storage: []byte(strings.Repeat("\xff", 32*32)),
		ran:     map[string]time.Duration{},
		starts:  map[string]int{},
	}
	b.lock <- struct{}{}
	return b
}

// errDark is the error of a step at which the power failed.
type errDark struct{}

func (errDark) Error() string { return "the power has failed" }

// run switches the board on and reads its queue every four seconds until ctx ends.
func (b *board) run(ctx context.Context) {
	b.done.Go(func() {
		defer b.off()
		for ctx.Err() == nil {
			<-b.lock
			if b.cmd == nil {
				b.boot()
				b.order("hub")
			}
			b.order("poll")
			dark := time.Duration(0)
			for i := 0; i < 8 && b.cmd != nil; i++ {
				b.lock <- struct{}{}
				time.Sleep(500 * time.Millisecond)
				<-b.lock
				b.order("tick")
			}
			if b.cmd == nil {
				dark = b.dark
			}
			b.lock <- struct{}{}
			time.Sleep(dark)
		}
	})
}

// off takes the power away.
func (b *board) off() {
	<-b.lock
	defer func() { b.lock <- struct{}{} }()
	b.kill()
}

func (b *board) kill() {
	if b.cmd == nil {
		return
	}
	if err := b.cmd.Process.Kill(); err != nil {
		b.Errorf("kill the firmware: %v", err)
	}
	_ = b.cmd.Wait() // it was killed
	b.cmd = nil
	b.stopped()
}

// boot starts the program. Its first line asks for the storage.
func (b *board) boot() {
	b.cmd = exec.Command(b.program)
	if b.key != "" {
		b.cmd.Env = append(os.Environ(), "NOTEPAY_KEY="+b.key)
	}
	b.cmd.Stderr = os.Stderr
	in, inErr := b.cmd.StdinPipe()
	out, outErr := b.cmd.StdoutPipe()
	if inErr != nil || outErr != nil {
		b.Errorf("pipes: %v, %v", inErr, outErr)
		b.cmd = nil
		return
	}
	if err := b.cmd.Start(); err != nil {
		b.Errorf("start the firmware: %v", err)
		b.cmd = nil
		return
	}
	b.in, b.out, b.booted = in, bufio.NewReader(out), time.Now()
	b.serve("ready 1")
}

// order makes the program do something, with all that follows from it. It does nothing without
// power.
func (b *board) order(what string) {
	if b.cmd == nil {
		return
	}
	b.answer(what)
	b.serve("done ")
}

// answer writes one line to the program.
func (b *board) answer(text string) {
	millis := uint32(time.Since(b.booted).Milliseconds())
	if _, err := fmt.Fprintf(b.in, "%d %s\n", millis, text); err != nil {
		b.Errorf("write to the firmware: %v", err)
	}
}

// serve answers what the program says until it says last. If the power fails meanwhile, it returns.
func (b *board) serve(last string) {
	for {
		line, err := b.out.ReadString('\n')
		if err != nil {
			b.Errorf("the firmware ended: %v", err)
			b.kill()
			return
		}
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, last) {
			return
		}
		if err := b.step(line); err != nil {
			b.cuts++
			b.kill()
			return
		}
	}
}

// fails reports whether the power fails now.
func (b *board) fails() bool { return b.cutOneIn > 0 && b.random.IntN(b.cutOneIn) == 0 }

// step does what the program asks for. The power fails before or after it.
func (b *board) step(line string) error {
	before, after := b.fails(), b.fails()
	if strings.HasPrefix(line, "save ") {
		return b.save(line, before)
	}
	if before {
		return errDark{}
	}
	answer := ""
	switch words := strings.Fields(line); {
	case line == "storage":
		answer = hex.EncodeToString(b.storage)
	case strings.HasPrefix(line, "{"):
		answer = b.ask(line)
	case words[0] == "refuse":
		answer = b.refusal
	case words[0] == "start":
		b.started(words[1], words[2])
	case words[0] == "stop":
		b.stopped()
	default:
		b.Errorf("the firmware says %q", line)
	}
	if after {
		return errDark{}
	}
	b.answer(answer)
	return nil
}

// ask hands a request to the Notecard. A reply that is lost takes three seconds, in which the
// firmware ticks.
func (b *board) ask(line string) string {
	roll := b.random.IntN(100)
	b.card.SetFaults(sandbox.NotecardFaults{
		LoseReplies:   btoi(roll < b.loss/2),
		GarbleReplies: btoi(roll >= b.loss/2 && roll < b.loss),
	})
	time.Sleep(100 * time.Millisecond)
	reply := strings.TrimRight(string(b.card.Exchange([]byte(line))), "\r\n")
	for range 30 * btoi(reply == "") {
		time.Sleep(100 * time.Millisecond)
		b.answer("~")
		for {
			said, err := b.out.ReadString('\n')
			if err != nil || said == "wait\n" {
				break
			}
			if said != "stop\n" {
				b.Errorf("while it waits the firmware says %q; want stop or nothing", said)
			}
			b.stopped()
			b.answer("")
		}
	}
	return reply
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// save writes one byte. If the power fails meanwhile, the byte is the old one, 0xff or random.
func (b *board) save(line string, fails bool) error {
	var at int
	var value byte
	if _, err := fmt.Sscanf(line, "save %d %02x", &at, &value); err != nil {
		b.Errorf("%s: %v", line, err)
		return errDark{}
	}
	if fails {
		b.storage[at] = []byte{b.storage[at], 0xff, byte(b.random.Uint32())}[b.random.IntN(3)]
		return errDark{}
	}
	b.storage[at] = value
	b.answer("")
	return nil
}

func (b *board) started(credit, seconds string) {
	if b.running != "" {
		b.Errorf("%s starts while %s is on", credit, b.running)
	}
	b.starts[credit]++
	if s, err := strconv.Atoi(seconds); err != nil || s > 0 {
		b.running, b.since = credit, time.Now()
	}
}

// stopped ends the time of the credit that is on.
func (b *board) stopped() {
	if b.running != "" {
		b.ran[b.running] += time.Since(b.since)
	}
	b.running = ""
}

// set changes the board.
func (b *board) set(change func()) {
	<-b.lock
	defer func() { b.lock <- struct{}{} }()
	change()
}

// newRandom returns the random numbers of a test. A failed test shows the seed.
func newRandom(t *testing.T) *rand.Rand {
	seed := fromEnvironment(t, "NOTEPAY_FIRMWARE_SEED", 1)
	t.Logf("NOTEPAY_FIRMWARE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, uint64(len(t.Name()))))
}

// fromEnvironment returns the number that a variable of the environment gives, or the usual one.
func fromEnvironment(t *testing.T, name string, usual uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	number, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return number
}
