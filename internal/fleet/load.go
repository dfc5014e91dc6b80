package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// load reads devices, links, variables, pauses and plans from the ledger.
func (f *Fleet) load(ctx context.Context) error {
	devices, err := f.Ledger.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	links, err := f.Ledger.Links(ctx, f.Livemode)
	if err != nil {
		return fmt.Errorf("links: %w", err)
	}
	stored, err := f.Ledger.Variables(ctx)
	if err != nil {
		return fmt.Errorf("variables: %w", err)
	}
	pauses, err := f.Ledger.Pauses(ctx)
	if err != nil {
		return fmt.Errorf("pauses: %w", err)
	}
	planned, err := f.Ledger.Maintenances(ctx)
	if err != nil {
		return fmt.Errorf("maintenance: %w", err)
	}
	for _, m := range planned {
		f.maintenance[m.DeviceUID] = m
	}
	outs, err := f.Ledger.MachinesOut(ctx)
	if err != nil {
		return fmt.Errorf("machine states: %w", err)
	}
	for _, m := range outs {
		f.outs[m.DeviceUID] = m
	}
	f.observed, err = f.Ledger.Meta(ctx, ledger.MetaFleetLoaded)
	if f.loaded, err = ledger.Found(err); err != nil {
		return err
	}
	if f.Sessions {
		sold, err := f.Ledger.SessionPlans(ctx, f.Livemode)
		if err != nil {
			return fmt.Errorf("plans: %w", err)
		}
		for _, p := range sold {
			f.plans[p.PriceID] = p
		}
	}
	if err := f.respell(ctx, devices, stored); err != nil {
		return fmt.Errorf("respell devices: %w", err)
	}
	// A hundred thousand links share the text of their plan.
	same := map[payment.Offer]payment.Offer{}
	for _, l := range links {
		if _, ok := same[l.Plan]; !ok {
			same[l.Plan] = l.Plan
		}
		l.Plan, l.DeviceUID = same[l.Plan], uid.Key(l.DeviceUID)
		f.links.remember(l)
		if _, known := f.plans[l.Plan.PriceID]; (l.Active || f.Sessions) && !known {
			f.plans[l.Plan.PriceID] = l.Plan
		}
	}
	for _, v := range stored {
		f.vars[v.Owner] = variables{v.Values, v.ReadAt}
	}
	for _, p := range pauses {
		p.DeviceUID = uid.Key(p.DeviceUID)
		f.pauses[p.DeviceUID] = p
	}
	for _, d := range devices {
		f.devices[d.UID] = f.build(d)
	}
	return nil
}

// respell normalizes the UIDs of devices and variables that an earlier version stored in Notehub's
// spelling.
func (f *Fleet) respell(ctx context.Context, devices []ledger.Device, stored []ledger.Variables) error {
	return f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		for i, d := range devices {
			if key := uid.Key(d.UID); key != d.UID {
				if err := tx.RemoveDevice(d.UID); err != nil {
					return err
				}
				devices[i].UID, devices[i].Spelled = key, d.UID
				if err := tx.SaveDevice(devices[i]); err != nil {
					return err
				}
			}
		}
		for i, v := range stored {
			if key := uid.Key(v.Owner); key != v.Owner && strings.HasPrefix(key, "dev:") {
				stored[i].Owner = key
				if err := tx.SaveVariables(stored[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// build returns a device with its offers and state. The caller holds the lock, or no other
// goroutine runs yet.
func (f *Fleet) build(d ledger.Device) *Device {
	t := f.saleTermsOf(d)
	device := &Device{
		Device:    d,
		saleTerms: t,
		Problems:  t.problems,
		Offers:    make([]Offer, 0, len(t.prices)),
		unread:    f.unread(d),

		variablesReadAt: f.vars[d.UID].at,
	}
	for _, id := range t.prices {
		if device.unread {
			break // its own variables may name other prices
		}
		if plan, ok := f.plans[id]; ok {
			offer := Offer{Plan: plan, URL: f.links.url(linkKey{d.UID, id})}
			if offer.Closed = f.links.closed(linkKey{d.UID, id}); offer.Closed != "" {
				device.Problems = append(slices.Clip(device.Problems), notSoldText(id, offer.Closed))
			}
			device.Offers = append(device.Offers, offer)
		} else if why, ok := f.rejected[id]; ok {
			device.Problems = append(slices.Clip(device.Problems), notSoldText(id, why))
		}
	}
	if d.Problem != "" {
		device.Problems = append(slices.Clip(device.Problems), message.New(d.Problem))
	}
	if p, ok := f.pauses[d.UID]; ok {
		device.Pause = &p
	}
	if m, ok := f.outs[d.UID]; ok {
		device.Out = &m
	}
	if m, ok := f.maintenance[d.UID]; ok {
		device.Maintenance = &m
	}
	if device.unscannable = !uid.Valid(d.UID); device.unscannable {
		device.Problems = append(
			slices.Clip(device.Problems),
			message.New(
				"its UID %.80q cannot be scanned: "+
					"behind dev: there may be at most 64 letters, digits and -_.: and it is not sold",
				d.UID,
			),
		)
	}
	device.until, device.inUse = f.busy[d.UID]
	f.setKey(device)
	return device
}

// relink stores links in memory and rebuilds their devices.
func (f *Fleet) relink(links ...ledger.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range links {
		f.links.remember(l)
		if d, ok := f.devices[l.DeviceUID]; ok {
			f.devices[l.DeviceUID] = f.build(d.Device)
		}
	}
}
