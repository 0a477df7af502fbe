//go:build clients

package programs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/keyturn/keyturn/test/sdks"
)

const (
	openAIModel    = "gpt-5.1"
	anthropicModel = "claude-sonnet-4-6"
	dummyKey       = "any-text"
)

// program is a program, and one dialect in which it speaks.
type program struct {
	name     string
	provider string // openai or anthropic
	hidden   bool   // docs/clients.md says so
	// install returns the words that start the program, before its arguments.
	install func(context.Context) ([]string, error)
	// files are written into the program's home, by path. Base is the pool's URL, without /v1.
	files func(base string) map[string]string
	env   func(base string) []string
	args  func(prompt string) []string
	// own is the end of the name of the program's tool that runs a shell, and command the member of its arguments that is the command. Without
	// such a tool the program has no mixed turn.
	own, command string
	// waits says that the program asks again until there is quota, however often it is refused.
	waits bool
	// exhausted is what it says once the keys have run out, where it does not hand on Keyturn's words.
	exhausted string
}

var programs = []program{
	{
		name: "Codex CLI", provider: "openai", hidden: true, install: codex, own: "exec_command", command: "cmd",
		exhausted: "last status: 429 Too Many Requests",
		files: func(base string) map[string]string {
			return map[string]string{".codex/config.toml": fmt.Sprintf(`model_provider = "keyturn"
model = %q
[model_providers.keyturn]
name = "Keyturn"
base_url = "%s/v1"
env_key = "KEYTURN_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
`, openAIModel, base)}
		},
		env: func(string) []string { return []string{"KEYTURN_KEY=" + dummyKey} },
		args: func(prompt string) []string {
			return []string{"exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", prompt}
		},
	},
	{
		name: "Claude Code", provider: "anthropic", install: npm("@anthropic-ai/claude-code-%s", "claude"), own: "Bash", command: "command",
		env: func(base string) []string {
			return []string{
				"ANTHROPIC_BASE_URL=" + base, "ANTHROPIC_AUTH_TOKEN=" + dummyKey, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "CLAUDE_CODE_MAX_RETRIES=0",
				"DISABLE_AUTOUPDATER=1",
			}
		},
		args: func(prompt string) []string {
			return []string{"--print", "--model", anthropicModel, "--allowed-tools", "Bash", "--", prompt}
		},
	},
	opencode("opencode Responses", "@ai-sdk/openai", "openai", "/v1"),
	opencode("opencode Chat Completions", "@ai-sdk/openai-compatible", "openai", "/v1"),
	opencode("opencode Messages", "@ai-sdk/anthropic", "anthropic", "/v1"),
	{
		name: "aider Chat Completions", provider: "openai", install: python("aider", "-m", "aider"),
		env: func(base string) []string {
			return []string{"OPENAI_API_BASE=" + base + "/v1", "OPENAI_API_KEY=" + dummyKey}
		},
		args: aider("openai/" + openAIModel), waits: true,
	},
	{
		name: "aider Messages", provider: "anthropic", install: python("aider", "-m", "aider"),
		env: func(base string) []string {
			return []string{"ANTHROPIC_API_BASE=" + base, "ANTHROPIC_API_KEY=" + dummyKey}
		},
		args: aider("anthropic/" + anthropicModel), waits: true,
	},
}

func opencode(name, sdk, provider, path string) program {
	model := openAIModel
	if provider == "anthropic" {
		model = anthropicModel
	}
	return program{
		name: name, provider: provider, hidden: sdk == "@ai-sdk/openai", install: npm("opencode-%s", "bin/opencode"), own: "bash", command: "command", waits: true,
		files: func(base string) map[string]string {
			b, err := json.Marshal(map[string]any{
				"autoupdate": false, "share": "disabled", "permission": map[string]any{"bash": "allow"},
				"provider": map[string]any{"keyturn": map[string]any{
					"npm": sdk, "options": map[string]any{"baseURL": base + path, "apiKey": dummyKey}, "models": map[string]any{model: map[string]any{}},
				}},
			})
			if err != nil {
				panic(err) // strings and maps
			}
			return map[string]string{".config/opencode/opencode.json": string(b)}
		},
		env: func(string) []string {
			return []string{"OPENCODE_DISABLE_MODELS_FETCH=1", "OPENCODE_DISABLE_AUTOUPDATE=1", "OPENCODE_DISABLE_LSP_DOWNLOAD=1"}
		},
		args: func(prompt string) []string { return []string{"run", "-m", "keyturn/" + model, prompt} },
	}
}

func aider(model string) func(string) []string {
	return func(prompt string) []string {
		return []string{
			"--model", model, "--no-git", "--no-check-update", "--no-show-model-warnings", "--analytics-disable", "--yes-always", "--no-pretty", "--map-tokens", "0",
			"--message", prompt,
		}
	}
}

// npm is a program that a package of the platform brings; pattern is its name, with the platform in the place of %s.
func npm(pattern, path string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		rt, err := sdks.NodePackages(ctx, filepath.Join("..", "clients", "node", "programs"))
		platform := runtime.GOOS + "-" + strings.Replace(runtime.GOARCH, "amd64", "x64", 1) // in npm's words
		return []string{filepath.Join(rt.Packages, fmt.Sprintf(pattern, platform), path)}, err
	}
}

func codex(ctx context.Context) ([]string, error) {
	words, err := npm("@openai/codex-%s", "vendor")(ctx)
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(words[0], "*", "bin", "codex"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s: found %d programs codex, want 1", words[0], len(found))
	}
	return found, err
}

func python(set string, program ...string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		rt, err := sdks.PythonPackages(ctx, filepath.Join("..", "clients", "python", "requirements-"+set+".txt"))
		words := []string{"/usr/bin/env", "PYTHONPATH=" + rt.Packages, "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1", rt.Interpreter}
		return append(words, program...), err
	}
}

// write writes files below a folder.
func write(folder string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
