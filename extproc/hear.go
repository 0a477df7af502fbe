package extproc

import "github.com/keyturn/keyturn/internal/dialect"

// maxPrompt bounds what is kept of what is new in a request, in bytes.
const maxPrompt = 64 << 10

// hear takes what is new in a request's body, once for all attempts, where it is kept.
func (x *exchange) hear(body []byte) {
	if x.home.prompts && x.attempt <= 1 && !x.laterTurn && len(x.id) > 0 {
		x.prompt, x.promptCut = dialect.News(body, maxPrompt)
	}
}

// unchanged lets a request pass as it came, whose body was read only to keep what is new in it.
func (x *exchange) unchanged(m *message, body []byte) {
	if x.model == "" { // a path that names the model decides
		x.model = dialect.ModelOf(body)
		x.describeModel()
	}
	if x.rekey(); x.done { // no key may use the model
		return
	}
	x.tools = nil
	x.passMoved(m)
}
