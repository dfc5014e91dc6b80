// Command version prints the version that Go derives from the commit, for the script that builds a
// release.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
)

func main() {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		fmt.Fprintln(os.Stderr, "this build has no version: is this a git checkout?")
		os.Exit(1)
	}
	fmt.Println(info.Main.Version)
}
