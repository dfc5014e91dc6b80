package apptest

// Manual holds how the washer's active link takes money against how it should.
func (f *Front) Manual(want string) {
	f.Helper()
	for _, l := range f.Stripe.Links() {
		if l.Active && (l.CaptureMethod == "manual") != (want == "manual") {
			f.Errorf("link %s captures %q; want %q", l.ID, l.CaptureMethod, want)
		}
	}
}
