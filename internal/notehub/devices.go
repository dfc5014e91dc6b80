package notehub

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// devicesPerPage is how many devices one call lists. Notehub's default is 50 and its limit 10,000.
// This number takes one call for most projects, and about 1 MB.
const devicesPerPage = 1000

// oddDevices is the source of odd device records, as the operator sees it.
const oddDevices = "Notehub's devices"

// decodeDevice decodes the fields of a device that notepay uses. A record without a readable UID is
// an error, because nothing else names the device. Of the other fields:
//
//   - An unreadable name or last_activity is left out, and the device's Problem names it.
//   - An unreadable "disabled" or "fleet_uids" makes the device Unreadable. These fields decide
//     whether and at what price it sells, and nothing is sold on a guess.
func decodeDevice(raw json.RawMessage) (d ledger.Device, odd []oddRecord, err error) {
	var fields struct {
		UID          json.RawMessage `json:"uid"`
		SerialNumber json.RawMessage `json:"serial_number"`
		Fleets       json.RawMessage `json:"fleet_uids"`
		Disabled     json.RawMessage `json:"disabled"`      // left out when false
		LastActivity json.RawMessage `json:"last_activity"` // null until the device was seen
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return d, nil, errors.New("it is no object")
	}
	if !field(fields.UID, &d.UID) || d.UID == "" {
		return d, nil, errors.New("it has no uid")
	}
	unreadable := func(name string, value json.RawMessage) {
		odd = append(odd, oddRecord{id: displayID(d.UID), field: name})
		text := fmt.Sprintf("Notehub sends %s as %s, which cannot be read.", name, upstream.Excerpt(value))
		d.Problem = strings.TrimSpace(d.Problem + " " + text)
	}
	if !field(fields.SerialNumber, &d.Name) {
		unreadable("serial_number", fields.SerialNumber)
	}
	d.Name = upstream.Printable(d.Name)
	if !field(fields.Fleets, &d.Fleets) {
		d.Fleets, d.Unreadable = nil, true
		unreadable("fleet_uids", fields.Fleets)
	}
	if !field(fields.Disabled, &d.Disabled) {
		d.Unreadable = true
		unreadable("disabled", fields.Disabled)
	}
	if !field(fields.LastActivity, &d.LastActivity) {
		d.LastActivity = time.Time{}
		unreadable("last_activity", fields.LastActivity)
	}
	d.LastActivity = d.LastActivity.UTC().Truncate(time.Millisecond)
	return d, odd, nil
}

// Devices lists the devices to sell on. Only a nil error means that the list is complete. It reads
// pages until has_more is false, whatever their length. An odd device does not hide the others: its
// Problem says what is wrong with it. A record without a UID is Unreadable, and its UID is "".
func (n *Client) Devices(ctx context.Context) (devices []ledger.Device, err error) {
	path := "/devices"
	if n.config.Fleet != "" {
		path = "/fleets/" + url.PathEscape(n.config.Fleet) + "/devices"
	}
	var odd []oddRecord
	seen := map[string]bool{} // a list that changes between its pages repeats devices
	for page := 1; ; page++ {
		var reply replyPage
		err := n.read(ctx, call{
			path:  path,
			query: fmt.Sprintf("pageSize=%d&pageNum=%d", devicesPerPage, page),
			decode: func(text []byte) (err error) {
				reply, err = decodePage(text, "devices")
				return err
			},
		})
		before := len(seen)
		for i, raw := range reply.records {
			d, fields, err := decodeDevice(raw)
			if err != nil {
				fields = []oddRecord{{id: fmt.Sprintf("page %d, %s", page, place(i)), field: "uid"}}
				sum := sha256.Sum256(raw)
				seen[string(sum[:])] = true // a page of such records is one that was not read before
				d = ledger.Device{Name: fields[0].id, Unreadable: true, Problem: "Notehub's record has no uid."}
			} else if d.UID, d.Spelled = n.spellings.Split(d.UID); !uid.Valid(d.UID) && !seen[d.UID] {
				d.Unreadable = true
				d.Problem = strings.TrimSpace(
					"Payments need a UID of the form dev:..., and this device has another. " + d.Problem)
				fields = append(fields, oddRecord{id: displayID(d.UID), field: "uid"})
			}
			if err == nil && seen[d.UID] {
				continue
			}
			odd = append(odd, fields...)
			devices = append(devices, d)
			if err == nil {
				seen[d.UID] = true
			}
		}
		switch {
		case err != nil:
			return devices, fmt.Errorf("page %d: %w", page, err)
		case !reply.more:
			n.Odd.set(oddDevices, odd...)
			return devices, nil
		case len(seen) == before:
			return devices, fmt.Errorf("page %d: %w", page, &upstream.Error{
				Outcome: upstream.Retryable,
				Status:  200,
				Detail:  "a page without a new device that is not the last",
			})
		}
	}
}

// Device reads one device. The outcome upstream.Rejected means that it is not among those to sell
// on.
func (n *Client) Device(ctx context.Context, uid string) (d ledger.Device, err error) {
	err = n.read(ctx, call{path: n.devicePath(uid), device: uid, decode: func(text []byte) (err error) {
		var odd []oddRecord
		d, odd, err = decodeDevice(text)
		n.Odd.add(oddDevices, odd...)
		return err
	}})
	if err != nil {
		return ledger.Device{}, err
	}
	if d.UID, d.Spelled = n.spellings.Split(d.UID); d.UID != uid || d.Unreadable ||
		(n.config.Fleet != "" && !slices.Contains(d.Fleets, n.config.Fleet)) {
		return ledger.Device{}, &upstream.Error{
			Outcome: upstream.Rejected,
			Status:  200,
			Detail:  "not a device of this fleet",
		}
	}
	return d, nil
}
