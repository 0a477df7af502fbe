// Package slowclients has what it takes to hold that no client that reads slowly, or never, can kill Envoy or make it grow without
// bound: a provider that sends as fast as it is read and ends at once, clients that pause, and a processor that answers late.
package slowclients
