// Package notehub decodes what Blues Notehub sends: the replies of its API and the records in them.
//
// It promises that one odd record never hides the others, and that a reply which does not have the
// expected shape is an error and never an empty list. It makes no calls, and it does not know what
// follows from a record.
package notehub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Odd is a record, or a field of a record, that could not be read.
type Odd struct {
	ID    string // the record's own id, or its place in the list
	Field string // "" for the whole record
}

func (o Odd) String() string {
	if o.Field == "" {
		return o.ID
	}
	return o.ID + " (" + o.Field + ")"
}

// CheckAcknowledged returns an error unless the body of a 2xx reply acknowledges a note or its
// deletion. Notehub documents an empty object. An empty body and an object without an error member
// are accepted too, because Notehub may add members. Everything else comes from something else
// between us and Notehub.
func CheckAcknowledged(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	_, err := Members(body)
	return err
}

// Members returns the members of a reply. What is no object, such as null or an HTML page, is an
// error, and so is one that tells of an error: it is no evidence for anything beside.
func Members(body []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, errors.New("null instead of an object")
	}
	for name := range members {
		if strings.EqualFold(name, "err") || strings.EqualFold(name, "error") {
			return nil, fmt.Errorf("the reply holds %q", name)
		}
	}
	return members, nil
}

// Page is one page of a list.
type Page struct {
	Records []json.RawMessage
	More    bool   // whether another page follows
	Next    string // next_cursor, where the list has one
}

// DecodePage decodes a page whose records are the member with the given name. Without that list, or
// without has_more, the reply is no evidence that there is nothing, so it is an error. The records
// are returned even if has_more is missing.
func DecodePage(body []byte, name string) (p Page, err error) {
	members, err := Members(body)
	if err != nil {
		return p, err
	}
	if p.Records, err = list(members, name); err != nil {
		return p, err
	}
	if err := json.Unmarshal(members["has_more"], &p.More); err != nil || isNull(members["has_more"]) {
		return p, errors.New("no has_more in the reply")
	}
	_ = json.Unmarshal(members["next_cursor"], &p.Next) // only a help where the records have no ids
	return p, nil
}

// DecodeList decodes a list that comes in one piece.
func DecodeList(body []byte, name string) ([]json.RawMessage, error) {
	members, err := Members(body)
	if err != nil {
		return nil, err
	}
	return list(members, name)
}

func list(members map[string]json.RawMessage, name string) (records []json.RawMessage, err error) {
	if err := json.Unmarshal(members[name], &records); err != nil || records == nil {
		return nil, fmt.Errorf("no list of %s in the reply", name)
	}
	return records, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// field decodes one member of a record. It reports whether the member could be read. A missing or
// null member leaves into as it is.
func field(raw json.RawMessage, into any) bool {
	return isNull(raw) || json.Unmarshal(raw, into) == nil
}
