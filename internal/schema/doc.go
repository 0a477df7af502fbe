// Package schema makes the schemas of tools such as model providers take. They refuse a whole request for one tool's schema, each for other reasons:
// a combinator at the top, an array without items, a word of an older draft. MCP servers write whatever JSON Schema has
// (https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool), and are asked for no less here.
//
// A mended schema says the same or less: what a provider cannot be told, the tool itself will refuse. It is pure.
package schema
