package scripted

import "github.com/keyturn/keyturn/internal/scripted/talk"

// The words of package talk that scripts and tests use.

type (
	// Endpoint is talk.Endpoint.
	Endpoint = talk.Endpoint
	// Part is talk.Part.
	Part = talk.Part
	// Problem is talk.Problem.
	Problem = talk.Problem
	// Framing is talk.Framing.
	Framing = talk.Framing
	// Conversation is talk.Conversation.
	Conversation = talk.Conversation
	// Tool is talk.Tool.
	Tool = talk.Tool
	// ToolChoice is talk.ToolChoice.
	ToolChoice = talk.ToolChoice
	// ToolResult is talk.ToolResult.
	ToolResult = talk.ToolResult
)

// The endpoints, told by the end of the path.
const (
	Responses     = talk.Responses
	Chat          = talk.Chat
	Messages      = talk.Messages
	CountTokens   = talk.CountTokens
	Models        = talk.Models
	Files         = talk.Files
	FileContent   = talk.FileContent
	Embeddings    = talk.Embeddings
	Stored        = talk.Stored
	Conversations = talk.Conversations
)

// Text is talk.Text.
func Text(text string) Part { return talk.Text(text) }

// Refuse is talk.Refuse.
func Refuse(text string) Part { return talk.Refuse(text) }

// Think is talk.Think.
func Think(text string) Part { return talk.Think(text) }

// RedactedThinking is talk.RedactedThinking.
func RedactedThinking() Part { return talk.RedactedThinking() }

// Call is talk.Call.
func Call(name, argsJSON string) Part { return talk.Call(name, argsJSON) }

// Custom is talk.Custom.
func Custom(name, input string) Part { return talk.Custom(name, input) }

// Hosted is talk.Hosted.
func Hosted(query string) Part { return talk.Hosted(query) }

// Incomplete is talk.Incomplete.
func Incomplete(reason string) Part { return talk.Incomplete(reason) }

// Failed is talk.Failed.
func Failed(pr Problem) Part { return talk.Failed(pr) }

// Broken is talk.Broken.
func Broken(pr Problem) Part { return talk.Broken(pr) }
