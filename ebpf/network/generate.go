package network

// Made with clang 14.0.6 and libbpf 1.1.2 (Debian 12); see
// ../sensor/generate.go.
//go:generate go tool -modfile=../../tools.mod bpf2go -target bpfel -cflags "-O2 -Wall -Werror -mcpu=v2 -fdebug-compilation-dir=." programs bpf/network.bpf.c
