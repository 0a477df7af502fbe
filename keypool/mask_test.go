package keypool_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		"x":                                   "...",
		"ab":                                  "...",
		"abcd":                                "...",
		"short":                               "s...t",
		"veryshort":                           "v...t",
		"abcde":                               "a...e",
		"123456789":                           "1...9",
		"1234567890":                          "12...90",
		"1234567890123456789":                 "12...89",
		"12345678901234567890":                "1234...7890",
		"k0-long-key":                         "k0...ey",
		"thisisquitelong":                     "th...ng",
		"hélloworld🌍!":                        "hé...🌍!",
		"sk-ant-api03-abcdefgh":               "sk-a...efgh",
		"ghp_ABCDEFGHIJKLMNOPQRSTUVWabcdefgh": "ghp_...efgh",
	} {
		require.Equal(t, want, keypool.Mask(in), in)
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	const secret, hmacKey = "sk-very-secret-0123456789", "fingerprint-secret"
	cfg := configOf(secret, "b")
	cfg.Keys[0].Name, cfg.Secret = "a", []byte(hmacKey)
	p, _ := newPool(t, func(c *keypool.Config) { *c = cfg }, "ignored")
	k := keyOf(t, p, "a")

	var log bytes.Buffer
	text, js := slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))
	for _, v := range []any{cfg, &cfg, cfg.Keys, cfg.Keys[0], &cfg.Keys[0], k, *k, p, p.Walker(), p.Snapshot()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
			out := fmt.Sprintf(verb, v)
			require.NotContains(t, out, "very-secret", verb)
			require.NotContains(t, out, "766572792d736563726574", verb) // in hexadecimal
			require.NotContains(t, out, hmacKey, verb)
		}
		text.Info("x", slog.Any("v", v))
		js.Info("x", slog.Any("v", v))
		out, err := json.Marshal(v)
		require.NoError(t, err)
		log.Write(out)
	}
	require.NotContains(t, log.String(), "very-secret")
	require.NotContains(t, log.String(), hmacKey)
	require.NotContains(t, log.String(), "ZmluZ2VycHJpbnQ") // in base64
	require.Contains(t, log.String(), "a(sk-v...6789)")
	require.Equal(t, secret, k.Secret())
}
