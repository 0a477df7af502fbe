//go:build !linux

package istio

import "errors"

const captured, virtualOutbound = "240.240.0.9", 15001

var (
	errLinux   = errors.New("these tests need Linux: they run in namespaces of their own")
	errCapture = errLinux
)

func again(...string) (int, error) { return 0, errLinux }

func setUpNamespace(string, []string) error { return errLinux }
