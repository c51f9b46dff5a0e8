//go:build race

package main

// underRace says that the race detector watches: everything takes ten times as long, and a few births show what many do.
const underRace = true
