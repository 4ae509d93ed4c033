"""The filters of every list, under another name (`service.filters`)."""

from service.filters import AuditFilter, CallbackFilter, FileFilter, HoldFilter, ListingFilter

__all__ = ["AuditFilter", "CallbackFilter", "FileFilter", "HoldFilter", "ListingFilter"]
