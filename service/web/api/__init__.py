"""The API under `/api/v1`: thin routes over the same views and orders as the command line (docs/http.md)."""
