package sandbox

import "time"

// Answers returns what a device's machine answered in payment_ack.qo, oldest first, as notes from
// it: their ID is the event's.
func (n *Notehub) Answers(device string) []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []Note
	for _, e := range n.events {
		if e.Device == device && e.File == confirmationFile {
			found = append(
				found,
				Note{
					ID:     e.Event,
					File:   e.File,
					Device: device,
					Body:   e.Body,
					Posted: time.UnixMicro(int64(e.Received * 1e6)),
				},
			)
		}
	}
	return found
}
