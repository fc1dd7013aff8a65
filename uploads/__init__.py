"""Upload sessions for Django: resumable, in chunks, directly into the portal's storage."""
