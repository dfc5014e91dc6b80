package apptest

// Active are the active links of a device.
func (f *Front) Active(uid string) (ids []string) {
	for _, l := range f.Stripe.Links() {
		if l.Active && l.DeviceUID == uid {
			ids = append(ids, l.ID)
		}
	}
	return ids
}
