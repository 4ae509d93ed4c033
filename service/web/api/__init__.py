"""The API under `/api/v1`: thin routes over the same use cases as the command line (docs/http.md, docs/api.md)."""
