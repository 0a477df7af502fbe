package keypool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestMarkByScope(t *testing.T) {
	for _, tc := range []struct {
		name  string
		v     keypool.Verdict
		model string
		want  keypool.State
		rest  time.Duration // of the key, or of the key for the model
		parks bool
	}{
		{"surface", keypool.Verdict{Class: keypool.CallerFault}, "m", keypool.Valid, 0, false},
		{"next key without blame", keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey}, "m", keypool.Valid, 0, false},
		{"next key, parked", noModel(0), "m", keypool.Valid, time.Minute, true},
		{"next key, parked as long as told", noModel(2 * time.Minute), "m", keypool.Valid, 2 * time.Minute, true},
		{"next key, model not known", noModel(0), "", keypool.Valid, 0, false},
		{
			"cooldown for a model that is gone, not known which", keypool.Verdict{
				Class: keypool.ModelGone, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel,
			}, "", keypool.Valid, 0, false,
		},
		{
			"a model's quota",
			keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel},
			"m",
			keypool.Valid, 10 * time.Minute, true,
		},
		{
			"a model's quota, not known which", keypool.Verdict{
				Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKeyModel,
			}, "", keypool.Temporary, 10 * time.Minute, false,
		},
		{
			"the key's own quota",
			keypool.Verdict{Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKey},
			"",
			keypool.Temporary, 10 * time.Minute, false,
		},
		{
			"the key's own quota, told how long", keypool.Verdict{
				Class: keypool.Quota, Action: keypool.CoolDown, Scope: keypool.ScopeKey, Cooldown: 2 * time.Second,
			}, "", keypool.Temporary, 2 * time.Second, false,
		},
		{"retire", keypool.Verdict{Class: keypool.Credential, Action: keypool.Retire, Scope: keypool.ScopeKey}, "m", keypool.Permanent, 15 * time.Minute, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, clk := newPool(t, nil, "a")
			var until time.Time
			if tc.rest > 0 {
				until = clk.Now().Add(tc.rest)
			}
			tr := p.Mark(next(t, p), tc.v, tc.model)
			require.Equal(t, keypool.Transition{Changed: tc.want != keypool.Valid, To: tc.want, Until: until}, tr)
			require.Equal(t, tc.parks, len(p.Snapshot()[0].Parked) == 1)
		})
	}
}

func TestParkingIsBounded(t *testing.T) {
	p, clk := newPool(t, nil, "a")
	k := next(t, p)
	for i := range 100 {
		p.Mark(k, noModel(time.Duration(i+1)*time.Second), fmt.Sprintf("m%d", i))
	}
	parked := p.Snapshot()[0].Parked
	require.Len(t, parked, 64)
	require.Equal(t, "m36", parked[0].Model, "those that end first went")
	p.Mark(k, noModel(time.Second), "m99")
	require.Equal(t, clk.Now().Add(100*time.Second), p.Snapshot()[0].Parked[63].Until, "the longer deadline stays")
	advance(t, clk, 99*time.Second)
	p.Mark(k, noModel(time.Second), "new")
	require.Len(t, p.Snapshot()[0].Parked, 2)
	p.Mark(k, noModel(time.Second), string(make([]byte, 300)))
	require.Len(t, p.Snapshot()[0].Parked, 2, "no client fills memory with the name of a model")
}
