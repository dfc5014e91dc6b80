package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// dialog asks an operator questions. It keeps the first error of writing.
type dialog struct {
	ctx   context.Context
	lines chan string // closed at the end of the input
	out   io.Writer
	err   error
}

// newDialogue reads answers from in until ctx ends, so that an open question does not delay the end
// of the process.
func newDialogue(ctx context.Context, in io.Reader, out io.Writer) *dialog {
	d := &dialog{ctx: ctx, lines: make(chan string), out: out}
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

func (d *dialog) say(format string, args ...any) {
	d.print(fmt.Sprintf(format, args...) + "\n")
}

func (d *dialog) print(text string) {
	if _, err := io.WriteString(d.out, text); d.err == nil {
		d.err = err
	}
}

// errNoAnswer reports that the input ended before a required answer.
var errNoAnswer = errors.New("no answer: run this command in a terminal")

// ask repeats a question until there is a valid answer. validate returns what is wrong with an
// answer, or "".
func (d *dialog) ask(question string, validate func(string) string) (string, error) {
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
		why := validate(answer)
		if why == "" {
			return answer, nil
		}
		d.say("%s", why)
	}
}

// askOr asks like ask, but returns preset for an empty answer.
func (d *dialog) askOr(preset, question string, validate func(string) string) (string, error) {
	for {
		answer, answered, err := d.line(question)
		switch {
		case err != nil:
			return "", err
		case !answered:
			return "", errNoAnswer
		case answer == "":
			return preset, nil
		}
		why := validate(answer)
		if why == "" {
			return answer, nil
		}
		d.say("%s", why)
	}
}

// agrees reports whether the operator answers yes. No answer means no.
func (d *dialog) agrees(question string) (bool, error) {
	answer, _, err := d.line(question + " [y/N]")
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), err
}

// agreesOr reports whether the operator answers yes. Enter means preset, and the end of the input is
// an error.
func (d *dialog) agreesOr(preset bool, question string) (yes bool, err error) {
	choice, usual := " [y/N]", "n"
	if preset {
		choice, usual = " [Y/n]", "y"
	}
	answer, err := d.askOr(usual, question+choice, func(s string) string {
		if !slices.Contains([]string{"y", "yes", "n", "no"}, strings.ToLower(s)) {
			return "Enter y or n."
		}
		return ""
	})
	return strings.HasPrefix(strings.ToLower(answer), "y"), err
}

// line asks a question and returns the next answer, if there is one.
func (d *dialog) line(question string) (answer string, answered bool, err error) {
	d.print(question + " ")
	select {
	case answer, answered = <-d.lines:
		if !answered {
			d.print("\n") // end the line of the question
		}
		return answer, answered, d.err
	case <-d.ctx.Done():
		return "", false, d.ctx.Err()
	}
}
