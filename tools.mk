# Tools are run by `go run package@version`: nothing to install, and everyone has the same.
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
