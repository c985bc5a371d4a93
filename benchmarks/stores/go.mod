module stores

go 1.24
