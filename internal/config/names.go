package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// otherNames returns names that are for Docker Compose, the demo, and the TLS of Go and OpenSSL.
func otherNames() []string {
	return []string{"DEMO_PORT", "DEMO_HOST", "COMPOSE_PROJECT_NAME", "SSL_CERT_FILE"}
}

// maxDistance is the maximum edit distance at which a name in the environment counts as a
// misspelled setting. It is small, because the environment also holds other programs' variables.
const maxDistance = 2

// Warnings returns what is suspicious but not wrong, without any value. They are about unknown
// names in the file, misspelled names in environ, and lines that lose a part of their value to a
// comment. environ has the form of os.Environ.
func Warnings(file string, environ []string) []string {
	values, warnings, err := readFile(file)
	if err != nil {
		return nil // Load returns the error
	}
	known := Names()
	var unknown []string
	for name := range values {
		if !slices.Contains(known, name) && !slices.Contains(otherNames(), name) {
			nearest, distance := Nearest(name)
			text := fmt.Sprintf("%s in %s is not a setting of notepay", name, file)
			if distance <= len(name)/2 {
				text += "; did you mean " + nearest + "?"
			}
			unknown = append(unknown, text)
		}
	}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(known, name) || slices.Contains(otherNames(), name) || len(name) < 2*maxDistance {
			continue
		}
		plain := strings.TrimSuffix(strings.TrimPrefix(strings.ToUpper(name), "NOTEPAY_"), "_FILE")
		if plain != strings.ToUpper(name) && slices.Contains(known, plain) {
			unknown = append(unknown, fmt.Sprintf(
				"%s in the environment is not a setting of notepay; set %s to the value itself", name, plain))
			continue
		}
		if nearest, distance := Nearest(name); distance <= maxDistance && distance < len(nearest)/2 {
			unknown = append(unknown, fmt.Sprintf(
				"%s in the environment is not a setting of notepay; did you mean %s?", name, nearest))
		}
	}
	slices.Sort(unknown)
	return append(unknown, warnings...)
}

// File is the name of the settings file in the working directory.
const File = ".env"

// PackageFile is the settings file of an installed package.
const PackageFile = "/etc/notepay/env"

// Path returns the settings file: that of the working directory, or else that of an installed
// package, if this user may read it. systemd passes it on in the environment instead.
func Path() string { return pathOf(File, PackageFile) }

// pathOf returns local, or installed if there is no local and installed can be read.
func pathOf(local, installed string) string {
	if _, err := os.Stat(local); err == nil {
		return local
	}
	f, err := os.Open(installed)
	if err != nil {
		return local
	}
	_ = f.Close() // nothing was written
	return installed
}

// EnvironmentWarnings returns Warnings for the environment of this process.
func EnvironmentWarnings(file string) []string { return Warnings(file, os.Environ()) }

// Nearest returns the setting whose name is most similar to the given one, and the edit distance.
// It counts letters that are inserted, deleted, replaced or swapped.
func Nearest(name string) (nearest string, distance int) {
	distance = len(name) + 1
	for _, known := range Names() {
		if d := editDistance(strings.ToUpper(name), known); nearest == "" || d < distance {
			nearest, distance = known, d
		}
	}
	return nearest, distance
}

// editDistance returns the optimal string alignment distance of two names of ASCII letters.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			substitute := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				substitute++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, substitute)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
