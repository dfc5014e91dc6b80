package notehub

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// replyMembers returns the members of a reply. Anything but an object is an error, such as null or an
// HTML page. An object that holds an error is an error too, because its other members prove nothing.
func replyMembers(body []byte) (map[string]json.RawMessage, error) {
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

// replyPage is one page of a list.
type replyPage struct {
	records []json.RawMessage
	more    bool   // another page follows
	next    string // next_cursor, if the list has one
}

// decodePage decodes a page whose records are the member with the given name. A reply without that
// list or without has_more is an error, because it is no evidence that there are no records. The
// records are returned even if has_more is missing.
func decodePage(body []byte, name string) (p replyPage, err error) {
	members, err := replyMembers(body)
	if err != nil {
		return p, err
	}
	if p.records, err = list(members, name); err != nil {
		return p, err
	}
	if err := json.Unmarshal(members["has_more"], &p.more); err != nil || isNull(members["has_more"]) {
		return p, errors.New("no has_more in the reply")
	}
	_ = json.Unmarshal(members["next_cursor"], &p.next) // needed only if the records have no ids
	return p, nil
}

// decodeList decodes a list that Notehub does not divide into pages.
func decodeList(body []byte, name string) ([]json.RawMessage, error) {
	members, err := replyMembers(body)
	if err != nil {
		return nil, err
	}
	return list(members, name)
}

// list returns the records of the member with the given name.
func list(members map[string]json.RawMessage, name string) (records []json.RawMessage, err error) {
	if err := json.Unmarshal(members[name], &records); err != nil || records == nil {
		return nil, fmt.Errorf("no list of %s in the reply", name)
	}
	return records, nil
}

// isNull reports whether a member is missing or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// field decodes one member of a record, and reports whether it could. A missing or null member
// leaves into unchanged.
func field(raw json.RawMessage, into any) bool {
	return isNull(raw) || json.Unmarshal(raw, into) == nil
}
