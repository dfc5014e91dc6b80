package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// dialogue asks an operator. The first error of writing is kept.
type dialogue struct {
	ctx   context.Context
	lines chan string // closed at the end of the answers
	out   io.Writer
	err   error
}

// newDialogue reads lines until ctx ends: a question must not keep a process that was told to stop.
func newDialogue(ctx context.Context, in io.Reader, out io.Writer) *dialogue {
	d := &dialogue{ctx: ctx, lines: make(chan string), out: out}
	go func() {
		defer close(d.lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case d.lines <- strings.TrimSpace(scanner.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return d
}

func (d *dialogue) say(format string, args ...any) {
	d.print(fmt.Sprintf(format, args...) + "\n")
}

func (d *dialogue) print(text string) {
	if _, err := io.WriteString(d.out, text); d.err == nil {
		d.err = err
	}
}

// errNoAnswer is for a question that cannot be left out.
var errNoAnswer = errors.New("no answer: run setup in a terminal")

// ask asks until there is an answer in which wrong finds nothing.
func (d *dialogue) ask(question string, wrong func(string) string) (string, error) {
	for {
		answer, answered, err := d.line(question)
		switch {
		case err != nil:
			return "", err
		case !answered:
			return "", errNoAnswer
		case answer == "":
			continue
		}
		why := wrong(answer)
		if why == "" {
			return answer, nil
		}
		d.say("%s", why)
	}
}

// agrees asks a question to which no answer means no.
func (d *dialogue) agrees(question string) (bool, error) {
	answer, _, err := d.line(question + " [y/N]")
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), err
}

func (d *dialogue) line(question string) (answer string, answered bool, err error) {
	d.print(question + " ")
	select {
	case answer, answered = <-d.lines:
		if !answered {
			d.print("\n") // so that what follows does not stand behind the question
		}
		return answer, answered, d.err
	case <-d.ctx.Done():
		return "", false, d.ctx.Err()
	}
}
