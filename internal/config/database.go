package config

import "notepay/internal/dsn"

// checkDatabase returns what is wrong with DATABASE_URL. It never quotes the value, which may hold
// a password.
func (s *Settings) checkDatabase() []string {
	if err := dsn.Check(string(s.DatabaseURL)); err != nil {
		return []string{"DATABASE_URL: " + err.Error()}
	}
	return nil
}
