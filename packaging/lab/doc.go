// Package lab tries the product on virtual devices; its tests have the build
// tag lab. See README.md.
package lab
