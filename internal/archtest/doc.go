// Package archtest holds the tests of the repository's shape: who may import whom, that each package says what it is
// for, and who may look at the clock.
package archtest
