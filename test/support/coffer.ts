/** The package under test, as its users import it. Every suite takes it from here. */
export * from 'coffer'
