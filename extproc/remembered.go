package extproc

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/keyturn/keyturn/internal/dialect"
)

// memory is what is remembered of the client, which the credential that it brings of its own may name; nil: nothing is. It is called
// while the request's headers are handled.
func (x *exchange) memory(own []byte) dialect.Memory {
	switch {
	case x.home.memory == nil:
		return nil
	case own != nil:
		return x.home.memory.For(ownClient(own))
	case x.front.asked && len(x.front.client) == 0: // a token that names nobody: one client could not be told from another
		return nil
	}
	return x.home.memory.For(string(x.front.client))
}

// ownClient names a client by the credential that it brings, without keeping it.
func ownClient(credential []byte) string {
	sum := sha256.Sum256(credential)
	return "byok:" + hex.EncodeToString(sum[:16])
}
