//go:build linux

// Command baseline is a server that the benchmarks compare notepay with. It runs as a process of its
// own, as notepay does, and its heap is collected as seldom, except with redirect.
//
//	baseline redirect           answers every request with http.Redirect, with default server settings
//	baseline verify             verifies and decodes a webhook, and stores nothing
//	baseline append JOURNAL     does the same, and answers once the body is in the journal
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"time"

	"notepay/internal/app"
	"notepay/internal/bridge"
	"notepay/internal/fixture"
	"notepay/internal/heap"
	"notepay/internal/stripeapi"
	"notepay/internal/web/api"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: baseline redirect | verify | append JOURNAL")
	}
	server := &http.Server{}
	switch mode := os.Args[1]; {
	case mode == "redirect":
		server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://buy.example.com/7777", http.StatusTemporaryRedirect)
		})
	case mode == "verify":
		defer runtime.KeepAlive(heap.Ballast())
		server = limited(webhook(func([]byte) error { return nil }))
	case mode == "append" && len(os.Args) == 3:
		defer runtime.KeepAlive(heap.Ballast())
		j, err := openJournal(os.Args[2], journalSize)
		if err != nil {
			log.Fatal(err)
		}
		server = limited(webhook(j.append))
	default:
		log.Fatalf("%q is no mode", mode)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("msg=listening addr=%s \n", listener.Addr()) // as notepay logs it
	log.Fatal(server.Serve(listener))
}

// limited returns a server with notepay's time limits.
func limited(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: app.ReadHeaderTimeout,
		ReadTimeout:       app.ReadTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
}

// webhook returns a handler that verifies and decodes a webhook and passes its body to keep before
// it answers. GET /metrics returns the number of allocations, as notepay does.
func webhook(keep func([]byte) error) http.Handler {
	secrets := stripeapi.WebhookSecrets{fixture.TestSecret}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintf(w, "go_memstats_mallocs_total %d\n", m.Mallocs)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			var event bridge.Event
			if event, err = secrets.Verify(body, r.Header.Get("Stripe-Signature"), nil); err == nil {
				err = keep([]byte(event.Body))
			}
		}
		if err == nil {
			err = api.WriteJSON(w, http.StatusOK, map[string]bool{"received": true})
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
}

// journalSize is the size of the journal, which is overwritten in turns as SQLite's log is. Writing
// to a file that does not grow is the faster way.
const journalSize = 64 << 20

// journal appends bodies to a file. One fdatasync serves all callers that wait.
type journal struct {
	file    *os.File
	size    int64
	entries chan entry
}

type entry struct {
	body []byte
	done chan error
}

// openJournal creates a journal of a size in bytes.
func openJournal(path string, size int) (*journal, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, size)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	j := &journal{f, int64(size), make(chan entry)}
	go j.write()
	return j, nil
}

// append returns once the body is durable.
func (j *journal) append(body []byte) error {
	e := entry{body, make(chan error, 1)}
	j.entries <- e
	return <-e.done
}

func (j *journal) write() {
	var waiting []entry
	var bodies []byte
	offset := int64(0)
	for e := range j.entries {
		waiting, bodies = append(waiting[:0], e), append(bodies[:0], e.body...)
		for more := true; more; {
			select {
			case e := <-j.entries:
				waiting, bodies = append(waiting, e), append(bodies, e.body...)
			default:
				more = false
			}
		}
		if offset+int64(len(bodies)) > j.size {
			offset = 0
		}
		_, err := j.file.WriteAt(bodies, offset)
		if err == nil {
			err = syscall.Fdatasync(int(j.file.Fd()))
		}
		offset += int64(len(bodies))
		for _, e := range waiting {
			e.done <- err
		}
	}
}
