package keypool_test

import (
	"fmt"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/keypool"
)

// A request that the first key's limit turns away is served by the second.
func Example() {
	pool, err := keypool.New([]string{"sk-first-key-0123456789", "sk-second-key-0123456789"}, quartz.NewReal())
	if err != nil {
		fmt.Println(err)
		return
	}
	answers := map[string]keypool.Answer{ // of a provider, by key
		"sk-first-key-0123456789":  {Status: 429, Body: []byte(`{"error":{"code":"rate_limit_exceeded","message":"Please try again in 20s."}}`)},
		"sk-second-key-0123456789": {Status: 200},
	}

	walker := pool.Walker()
	defer walker.Release()
	for {
		key, kerr := walker.Next()
		if kerr != nil {
			fmt.Println(kerr) // every key rests, or was refused
			return
		}
		answer := answers[key.Secret()]
		verdict := keypool.Classify(pool.Policy(), answer)
		if verdict.Class == keypool.None {
			key.MarkSuccess()
		}
		if verdict.Action == keypool.Surface { // for the client, good or bad
			fmt.Println(key.Hint(), "answered", answer.Status)
			break
		}
		pool.Mark(key, verdict, "")
		fmt.Println(key.Hint(), verdict.Class, verdict.Action, verdict.Cooldown)
	}
	for i, state := range states(pool) {
		fmt.Println(i, state)
	}

	// Output:
	// sk-f...6789 rate_limit cooldown 20s
	// sk-s...6789 answered 200
	// 0 temporary
	// 1 valid
}
