// Package charts holds the Helm chart, whose templates "keyturn render kubernetes" executes too: so the two say the same.
package charts

import "embed"

// Keyturn is the folder keyturn, the chart.
//
//go:embed all:keyturn
var Keyturn embed.FS
