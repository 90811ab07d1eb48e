package store

import "os"

func verifyFile(*os.File) error { return nil }
