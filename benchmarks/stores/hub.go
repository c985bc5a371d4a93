package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// commit is the one revision that every repository has.
const commit = "0123456789abcdef0123456789abcdef01234567"

// hub knows a model's revision, its tree, and its files, all in Git LFS. It offers no Xet, so that the hub's client reads over http.
func hub(buckets map[string]*bucket, w http.ResponseWriter, r *http.Request) {
	path, api := strings.CutPrefix(r.URL.Path, "/api/models/")
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 5)
	if len(parts) < 3 || buckets[parts[0]] == nil {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	b, below := buckets[parts[0]], parts[1]+"/"
	found, _ := b.page(below, "", len(b.names)+1)
	switch {
	case api && parts[2] == "tree":
		hubTree(found, below, w)
	case api:
		hubRevision(found, below, parts[0]+"/"+parts[1], w)
	case len(parts) == 5 && parts[2] == "resolve" && b.objects[below+parts[4]] != nil:
		o := b.objects[below+parts[4]]
		w.Header().Set("X-Repo-Commit", commit)
		w.Header().Set("X-Linked-Etag", `"`+o.sha256+`"`)
		w.Header().Set("X-Linked-Size", fmt.Sprint(o.size))
		content(w, r, o)
	default:
		w.Header().Set("X-Error-Code", "EntryNotFound")
		http.Error(w, "{}", http.StatusNotFound)
	}
}

func hubRevision(found []*object, below, id string, w http.ResponseWriter) {
	siblings := make([]any, 0, len(found))
	for _, o := range found {
		siblings = append(siblings, map[string]any{
			"rfilename": strings.TrimPrefix(o.name, below), "size": o.size, "blobId": o.etag(),
			"lfs": map[string]any{"sha256": o.sha256, "size": o.size, "pointerSize": 134},
		})
	}
	sendJSON(w, map[string]any{"id": id, "modelId": id, "sha": commit, "private": false, "siblings": siblings})
}

func hubTree(found []*object, below string, w http.ResponseWriter) {
	entries := make([]any, 0, len(found))
	for _, o := range found {
		entries = append(entries, map[string]any{
			"type": "file", "path": strings.TrimPrefix(o.name, below), "size": o.size, "oid": o.etag(),
			"lfs": map[string]any{"oid": o.sha256, "size": o.size, "pointerSize": 134},
		})
	}
	sendJSON(w, entries)
}

func sendJSON(w http.ResponseWriter, answer any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, "application/json; charset=UTF-8", http.StatusOK, &body)
}
