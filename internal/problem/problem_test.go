package problem

import (
	"testing"

	"notepay/internal/message"
)

func TestBoard(t *testing.T) {
	var b Board
	if b.StopsSales() || len(b.List()) != 0 {
		t.Fatal("a new board is not empty")
	}
	odd := func(text string) Problem { return Problem{Code: OddRecords, Text: message.New(text)} }
	if !b.Raise(odd("one")) || b.Raise(odd("two")) {
		t.Error("Raise does not report what is new")
	}
	b.Raise(Problem{Code: Storage, Text: message.New("full"), StopsSales: true})
	if !b.StopsSales() {
		t.Error("a problem that stops sales does not")
	}
	list := b.List()
	if len(list) != 2 || list[0].Code != Storage || list[1].Text.String() != "two" || list[1].Since.IsZero() {
		t.Errorf("list: %+v", list)
	}
	if !b.Clear(Storage) || b.Clear(Storage) {
		t.Error("Clear does not report what it removed")
	}
	if b.StopsSales() {
		t.Error("a problem that is over still stops sales")
	}
	var none *Board
	if none.Raise(Problem{Code: Clock, StopsSales: true}) || none.Clear(Clock) || none.StopsSales() ||
		none.List() != nil {
		t.Error("a nil board holds something")
	}
}
