// Package mlog stands in for monis.app/mlog, the logger of the Azure Workload Identity webhook: not every module proxy
// serves its archive. It has what the webhook's pkg/webhook names, and nothing of the mutation goes through it.
package mlog

import "github.com/go-logr/logr"

// LogLevel is how much is logged.
type LogLevel string

// The levels that the webhook maps to klog's.
const (
	LevelWarning LogLevel = ""
	LevelInfo    LogLevel = "info"
	LevelDebug   LogLevel = "debug"
	LevelTrace   LogLevel = "trace"
	LevelAll     LogLevel = "all"
)

// Enabled says no to every level: the API server's answer tells a test what it needs.
func Enabled(LogLevel) bool { return false }

// Logger is the part of the upstream interface that is used.
type Logger struct{ logger logr.Logger }

// New makes a logger that writes nothing.
func New() Logger { return Logger{logr.Discard()} }

// WithName names the logger.
func (l Logger) WithName(name string) Logger { return Logger{l.logger.WithName(name)} }

// WithValues adds pairs to every line.
func (l Logger) WithValues(pairs ...any) Logger { return Logger{l.logger.WithValues(pairs...)} }

// Debug logs details.
func (l Logger) Debug(message string, pairs ...any) { l.logger.V(1).Info(message, pairs...) }

// Info logs what happened.
func (l Logger) Info(message string, pairs ...any) { l.logger.Info(message, pairs...) }

// Warning logs what should not be.
func (l Logger) Warning(message string, pairs ...any) { l.logger.Info(message, pairs...) }

// Error logs a failure.
func (l Logger) Error(message string, err error, pairs ...any) { l.logger.Error(err, message, pairs...) }
