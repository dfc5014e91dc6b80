package notehub

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/ledger"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// Devices lists the devices to sell on. Only a nil error means that the list is complete; has_more
// decides, not a page's length. An odd device hides no other: its Problem says what is wrong with
// it, and one without a UID is left out.
func (n *Client) Devices(ctx context.Context) (devices []ledger.Device, err error) {
	path := "/devices"
	if n.fleet != "" {
		path = "/fleets/" + url.PathEscape(n.fleet) + "/devices"
	}
	var odd []Odd
	seen := map[string]bool{} // a listing that shifts while it is read repeats devices
	for page := 1; ; page++ {
		var reply Page
		err := n.read(
			ctx,
			call{
				path:  path,
				query: fmt.Sprintf("pageSize=%d&pageNum=%d", DevicesPerPage, page),
				decode: func(text []byte) (err error) {
					reply, err = DecodePage(text, "devices")
					return err
				},
			},
		)
		before := len(devices)
		for i, raw := range reply.Records {
			d, fields, err := DecodeDevice(raw)
			if err != nil {
				fields = []Odd{{ID: fmt.Sprintf("page %d, %s", page, Place(i)), Field: "uid"}}
			} else if d.UID, d.Spelled = n.Spelled.Split(d.UID); !uid.Valid(d.UID) && !seen[d.UID] {
				d.Unreadable = true
				d.Problem = strings.TrimSpace("Payments need a UID of the form dev:..., and this device has another. " + d.Problem)
				fields = append(fields, Odd{ID: Name(d.UID), Field: "uid"})
			}
			if err == nil && seen[d.UID] {
				continue
			}
			odd = append(odd, fields...)
			if err == nil {
				seen[d.UID] = true
				devices = append(devices, d)
			}
		}
		switch {
		case err != nil:
			return devices, fmt.Errorf("page %d: %w", page, err)
		case !reply.More:
			n.Odd.Set(oddDevices, odd...)
			return devices, nil
		case len(devices) == before:
			return devices, fmt.Errorf(
				"page %d: %w",
				page,
				&upstream.Error{
					Outcome: upstream.Retryable,
					Status:  200,
					Detail:  "a page without a new device that is not the last",
				},
			)
		}
	}
}

// Device reads one device. upstream.Refused means that it is not among those to sell on.
func (n *Client) Device(ctx context.Context, uid string) (d ledger.Device, err error) {
	err = n.read(ctx, call{path: n.devicePath(uid), device: uid, decode: func(text []byte) (err error) {
		var odd []Odd
		d, odd, err = DecodeDevice(text)
		n.Odd.Add(oddDevices, odd...)
		return err
	}})
	if err != nil {
		return ledger.Device{}, err
	}
	if d.UID, d.Spelled = n.Spelled.Split(d.UID); d.UID != uid || d.Unreadable ||
		(n.fleet != "" && !slices.Contains(d.Fleets, n.fleet)) {
		return ledger.Device{}, &upstream.Error{
			Outcome: upstream.Rejected,
			Status:  200,
			Detail:  "not a device of this fleet",
		}
	}
	return d, nil
}
