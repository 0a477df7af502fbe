package turn

// ErrorPrefix begins what a model reads of a call that failed, in dialects whose results have no mark for that.
const ErrorPrefix = "Error: "

// LostCode is the Error.Code of a request that needs what Options.Memory no longer has.
const LostCode = "conversation_state_lost"

// After is a text with another after it, set apart.
func After(text, more string) string {
	if text == "" {
		return more
	}
	return text + "\n\n" + more
}

// Choice is what a request's tool_choice means for Keyturn's tools.
type Choice uint8

// The choices.
const (
	ChoiceAuto     Choice = iota // the model may call them
	ChoiceRequired               // the model must call some tool
	ChoiceNamed                  // it must call one of Keyturn's
	ChoiceAllowed                // allowed_tools with one of Keyturn's among them
	ChoiceForeign                // it cannot call Keyturn's: none, one of the client's or the provider's own tools, or unknown
)
