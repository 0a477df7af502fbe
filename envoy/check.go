package envoy

import "errors"

// Want says what a configuration is checked for beyond what every configuration with Keyturn needs. The zero value
// checks only what the document shows.
type Want struct {
	Processor string // where Keyturn listens, "unix:path" or "host:port": finds filters of another name; "" = by the name keyturn
	Loopback  bool   // Keyturn makes requests of its own: a loopback listener must be there
	Open      bool   // clients need not authenticate
	Pools     []Pool // their clusters must be reached through the filter, with retries for their keys
}

// Finding is a setting that is missing or wrong.
type Finding struct {
	Setting     string `json:"setting"`     // the field, as a path in Envoy's API: route.retry_policy.num_retries
	Where       string `json:"where"`       // the listener, route or cluster: listener main, route pool:openai
	Found       string `json:"found"`       // what the document says; "not set" when it says nothing
	Want        string `json:"want"`        // what it should say
	Consequence string `json:"consequence"` // what happens otherwise
	Fatal       bool   `json:"fatal"`       // Envoy crashes, a credential may leak, or keys do not turn; else it costs speed, requests or clarity
}

// Check reads a bootstrap (YAML or JSON) or the answer of Envoy's /config_dump and reports what Keyturn needs and the
// document lacks, in the order of the document. The error is about a document that cannot be read or is neither.
func Check(doc []byte, want Want) ([]Finding, error) {
	return nil, errors.New("not yet")
}
