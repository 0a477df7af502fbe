package config

import "github.com/keyturn/keyturn/keypool"

func headroomFields() object[keypool.Headroom] {
	return object[keypool.Headroom]{
		fields: []field[keypool.Headroom]{
			is("requests", func(h *keypool.Headroom) *keypool.Amount { return &h.Requests }, amount(), "Requests, as a number or as a share of the allowance."),
			is("tokens", func(h *keypool.Headroom) *keypool.Amount { return &h.Tokens }, amount(), "Tokens, as a number or as a share of the allowance."),
		},
		example: "{requests: 1, tokens: 2%}",
	}
}

// amount is what keypool.ParseAmount reads.
func amount() scalar[keypool.Amount] {
	const want = "a number such as 1, or a share of at most 90% such as 2%"
	return scalar[keypool.Amount]{
		word: "number or share", want: want, tags: []string{"!!str", "!!int"},
		schema: map[string]any{"oneOf": []any{
			map[string]any{"type": "integer", "minimum": 0, "maximum": keypool.MaxCount},
			map[string]any{"type": "string", "pattern": `^([0-9]+|[0-9]+(\.[0-9]+)? ?%)$`},
		}},
		parse: func(s string) (keypool.Amount, wrong) {
			a, ok := keypool.ParseAmount(s)
			if !ok {
				return a, wrong("found " + shown(s) + "; write " + want)
			}
			return a, ""
		},
		render: keypool.Amount.String,
	}
}
