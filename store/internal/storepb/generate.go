// Package storepb is the stored form of the store's values.
package storepb

//go:generate go tool -modfile=../../../tools.mod buf generate
