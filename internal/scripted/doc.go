// Package scripted is a provider of language models without a model: it answers by script, in the shapes that OpenAI's and
// Anthropic's API references document, and it fails in every way that a real provider was seen to fail.
//
// It stands behind the demo, which must work without an account, and behind the end-to-end tests, which must know exactly what
// a provider said and what reached it. A script says what each key is answered:
//
//	p := scripted.New(scripted.Config{})
//	p.Key("k0-long-key", scripted.RateLimited(5*time.Second))
//	p.Key("k1-long-key", scripted.Seq(scripted.OK("hello"), scripted.Half(scripted.OK("hello"))))
//	srv, err := p.Start("")
//
// One answer serves every endpoint and both ways of asking: OK("hello") is a list of events on /v1/responses with
// "stream": true, a JSON object without it, and the list of models on /v1/models. Where a request goes is told by the end of
// its path, so a prefix such as /openai/deployments/gpt does not matter.
//
// A model may use tools. Say tells it what to say, ToolUser lets it look at the conversation first, Agent knows by itself:
//
//	p.Key("k0-long-key", scripted.Seq(
//		scripted.Say(scripted.Think("A sum."), scripted.Call("add", `{"a":1,"b":2}`), scripted.Call("weather", `{"city":"Rome"}`)),
//		scripted.Say(scripted.Text("done")),
//	))
//
// With Config.Strict the provider refuses what the real one refuses, such as a call without its result, and keeps what the real one
// keeps. What reached it is in Requests: their bodies, and with Request.Results what the tools had answered.
//
// The package is made for loopback and for trusted callers: it holds the keys of its script and of the requests it saw in the
// clear. Only the Exchange handed to the log hook is free of them.
package scripted
