// The Go SDK of two majors ago, in a module of its own: Keyturn does not need it.
module github.com/keyturn/keyturn/test/clients/go/older

go 1.26.0

require github.com/openai/openai-go v1.12.0

require (
	github.com/tidwall/gjson v1.14.4 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.1 // indirect
	github.com/tidwall/sjson v1.2.5 // indirect
)
