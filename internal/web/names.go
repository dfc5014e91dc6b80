package web

// MachineName returns the name that people see: the machine's name, or its UID if it has none.
func MachineName(name, uid string) string {
	if name == "" {
		return uid
	}
	return name
}
