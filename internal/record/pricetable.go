package record

import (
	_ "embed" // the table
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TableDate is the version of the built-in prices: when they were last compared with their sources, which pricetable.txt names.
const TableDate = "2026-11-30"

//go:embed pricetable.txt
var priceTable string

// builtIn are the rules of pricetable.txt, in order.
var builtIn = sync.OnceValue(func() []PriceRule {
	var rules []PriceRule
	for line := range strings.Lines(priceTable) {
		line, _, _ := strings.Cut(line, "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			r, err := readPrice(fields)
			if err != nil {
				panic(fmt.Sprintf("pricetable.txt: %s: %v", line, err)) // a test reads it
			}
			dated := r
			dated.Model += "-20*"
			rules = append(rules, r, dated)
		}
	}
	return ordered(rules)
})

// readPrice reads a line of pricetable.txt.
func readPrice(fields []string) (r PriceRule, err error) {
	if len(fields) < 5 {
		return r, fmt.Errorf("%d columns", len(fields))
	}
	rates := [4]*Rate{&r.Input, nil, nil, &r.Output}
	for i := range rates {
		if fields[i+1] == "-" && rates[i] == nil {
			continue
		}
		rate, err := ParseRate(fields[i+1])
		if err != nil {
			return r, err
		}
		if rates[i] == nil {
			rates[i] = new(Rate)
		}
		*rates[i] = rate
	}
	r.Model, r.Cached, r.CacheWrite = fields[0], rates[1], rates[2]
	for _, option := range fields[5:] {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "above":
			r.Above, err = strconv.ParseInt(value, 10, 64)
		case "tier":
			r.Tier = value
		case "since":
			r.Since, err = time.Parse(time.DateOnly, value)
		default:
			err = fmt.Errorf("unknown option %s", name)
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}
