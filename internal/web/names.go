package web

// MachineName is what a machine is called: its name, or its UID where it has none.
func MachineName(name, uid string) string {
	if name == "" {
		return uid
	}
	return name
}
