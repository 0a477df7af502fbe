package talk

// Endpoint is one of the endpoints that the provider knows. Its zero value is none of them.
type Endpoint string

// The endpoints, told by the end of the path.
const (
	Responses   Endpoint = "responses"    // …/responses
	Chat        Endpoint = "chat"         // …/chat/completions
	Messages    Endpoint = "messages"     // …/messages
	CountTokens Endpoint = "count_tokens" // …/messages/count_tokens
	Models      Endpoint = "models"       // …/models
	Files       Endpoint = "files"        // …/files
	FileContent Endpoint = "file_content" // …/files/{id}/content
	Embeddings  Endpoint = "embeddings"   // …/embeddings

	Stored        Endpoint = "stored"        // …/responses/{id}, …/responses/{id}/cancel, …/responses/{id}/input_items
	Conversations Endpoint = "conversations" // …/conversations, …/conversations/{id}, …/conversations/{id}/items
)
