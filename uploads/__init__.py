"""Upload sessions for Django: resumable, chunk by chunk, straight into the portal's storage."""
